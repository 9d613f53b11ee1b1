// What the page says, in English and Chinese.

const ENGLISH = {
  captioning: "Caption a picture",
  text_classification: "Classify a text",
  forecasting: "Forecast a series",
  local: "Everything happens in this browser; nothing you give is sent anywhere.",
  loading: "Loading the model",
  testing: "Testing the model on its own examples …",
  ready: "Ready.",
  working: "Working …",
  example: "Try an example",
  choosePicture: "Choose a picture",
  dropPicture: "or drop it here, or paste it",
  chooseTable: "Choose a CSV file",
  dropTable: "or drop it here",
  pasteTable: "Or paste a table, with a row of column names",
  columns: (names, rows) => `Needs the columns ${names}, and at least ${rows} rows; a date column orders them.`,
  forecast: "Forecast",
  yourText: "Your text",
  typeText: "Write or paste a text",
  score: (value) => `Mean log-probability of a token: ${value}`,
  point: "Point at a word, or move to it with Tab, to see where the model looked for it.",
  looked: (word, place) => `${word}: looked mostly at the ${place}`,
  places: [
    ["upper left", "top", "upper right"],
    ["left", "middle", "right"],
    ["lower left", "bottom", "lower right"],
  ],
  picture: (caption) => `The picture, captioned: ${caption}`,
  classes: "Classes",
  words: "How much each word weighed",
  weight: (word, percent) => `${word}: weight ${percent}`,
  step: "Step",
  mean: "Mean",
  known: "Known",
  band: (low, high) => `${low} to ${high} quantile`,
  inSteps: (target, last, mean, steps) => `${target}: ${last} → ${mean} in ${steps} steps`,
  chart: (target, rows, steps) => `${target}: the last ${rows} values and the forecast of ${steps} steps`,
  numbers: "The forecast in numbers",
  about: "About this model",
  facts: { name: "Architecture", quantize: "Weights", size: "Size", made_by: "Made by", data: "Training data" },
  failed: (why) => `Something went wrong: ${why}`,
};

const CHINESE = {
  captioning: "为图片生成说明",
  text_classification: "文本分类",
  forecasting: "序列预测",
  local: "一切都在本浏览器中运行，您的内容不会发送到任何地方。",
  loading: "正在加载模型",
  testing: "正在用模型自带的样例自检……",
  ready: "就绪。",
  working: "正在计算……",
  example: "试一个样例",
  choosePicture: "选择图片",
  dropPicture: "或拖放、粘贴到这里",
  chooseTable: "选择 CSV 文件",
  dropTable: "或拖放到这里",
  pasteTable: "或粘贴带列名的表格",
  columns: (names, rows) => `需要列 ${names}，至少 ${rows} 行；有日期列时按日期排序。`,
  forecast: "预测",
  yourText: "文本",
  typeText: "输入或粘贴文本",
  score: (value) => `每个词元的平均对数概率：${value}`,
  point: "指向某个词，或用 Tab 键移到该词，查看模型当时注视的位置。",
  looked: (word, place) => `${word}：主要注视${place}`,
  places: [
    ["左上", "上方", "右上"],
    ["左侧", "中间", "右侧"],
    ["左下", "下方", "右下"],
  ],
  picture: (caption) => `图片，说明：${caption}`,
  classes: "类别",
  words: "每个词的权重",
  weight: (word, percent) => `${word}：权重 ${percent}`,
  step: "步",
  mean: "均值",
  known: "已知",
  band: (low, high) => `${low} 至 ${high} 分位`,
  inSteps: (target, last, mean, steps) => `${target}：${last} → ${mean}（${steps} 步后）`,
  chart: (target, rows, steps) => `${target}：最近 ${rows} 个值与未来 ${steps} 步的预测`,
  numbers: "预测数值",
  about: "关于此模型",
  facts: { name: "架构", quantize: "权重", size: "大小", made_by: "制作", data: "训练数据" },
  failed: (why) => `出错了：${why}`,
};

export const language = /^zh\b/i.test(globalThis.navigator?.language ?? "") ? "zh" : "en";

/** The texts of the user's language. */
export const say = language === "zh" ? CHINESE : ENGLISH;

const percents = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });

/** A share as a percentage. */
export function percent(share) {
  return percents.format(share);
}

/** A number with at most six significant digits. */
export function number(value) {
  return String(Number(value.toPrecision(6)));
}
